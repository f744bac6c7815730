"""What visitors asked for, carried out on everything the pipeline keeps: erasure, access, tombstones."""
