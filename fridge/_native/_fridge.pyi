from typing import Any

# What csrc/fridge.h, wire/session.h and wire/command.h declare. Types of their functions and structs are in those
# headers; a list here would be a second copy.
ffi: Any
lib: Any
