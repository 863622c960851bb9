"""The dispatcher: starts tasks as capacity allows and reports their outcomes. Pure anyio."""
