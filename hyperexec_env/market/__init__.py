"""What the world does. It has never heard of agents, Gymnasium or stable-baselines3."""
