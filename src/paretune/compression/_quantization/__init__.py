"""What post-training quantization is made of; nothing else uses it."""
