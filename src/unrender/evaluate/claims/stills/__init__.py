"""Claims about pictures with ground truth, and real photos: contestants, contest, claims."""
