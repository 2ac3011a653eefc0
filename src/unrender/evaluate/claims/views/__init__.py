"""Claims about sets of views of one subject: contestants, contest, claims."""
