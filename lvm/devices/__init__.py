"""What models compute on."""
