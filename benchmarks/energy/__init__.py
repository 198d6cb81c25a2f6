"""Energy: the models of targets against measured rows, their speed, and what they say can be saved at all."""
