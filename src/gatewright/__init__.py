"""From a trained model to a production endpoint its owner can answer for."""
