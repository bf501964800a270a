"""Makes the reference pages of docs/ from the code, and the site of docs/; not part of the package."""
