"""What a connection can do: measurements against hvcopy or a raw peer, their figures, and what follows from them."""
