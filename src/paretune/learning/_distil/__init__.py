"""What distillation is made of."""
