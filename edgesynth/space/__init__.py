"""The space of networks that can be made from a prototype: tracing, genomes, surgery, costs."""
