"""Where each thing of a model went on a device, and what every pass did to it: `spucc explain` and the report's data."""
