"""Operators: one folder each, with a readable reference and faster paths behind one ``torch.library`` operator."""
