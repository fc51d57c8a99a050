"""How far what a device samples is from the model: of Gaussians, spins and nonlinear units, and of whole lots of boards."""
