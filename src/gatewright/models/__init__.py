"""What model arrived, exactly: format by content, passive inspection, signature, tensors."""
