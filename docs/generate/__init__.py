"""Makes the reference pages of docs/ from the code, and adds to the site what they link to; not part of the package."""
