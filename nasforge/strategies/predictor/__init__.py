"""The default strategy: models of architectures, by the features of their live graphs. `propose.predict` makes it for a search."""
