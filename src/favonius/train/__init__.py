"""Stage `train`: one loop for every objective, dSFT and dDPO alike."""
