"""The stages between reading and writing: chunk, encode, aggregate. Table in, table out; they know no storage."""
