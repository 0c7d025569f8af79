"""From a file to the array that the network takes: the only code that prepares an image, for training and clinic."""
