"""What diffusers' networks lack, added by attention processors, and the few that are built here; none is forked."""
