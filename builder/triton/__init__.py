"""What is known about Triton: config.pbtxt, dtypes, releases. Pure: no file is written here."""
