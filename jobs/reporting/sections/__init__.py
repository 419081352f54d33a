"""The page's sections, one module each: figures in, HTML out."""
