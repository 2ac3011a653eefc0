"""Claims about photos with and without an object: contestants, contest, claims."""
