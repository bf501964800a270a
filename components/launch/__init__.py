"""Jobs: one program on several processes, that outlive the process which started them. Nothing here knows what they compute."""
