"""What diffusers' networks lack, added by attention processors; no network is forked."""
