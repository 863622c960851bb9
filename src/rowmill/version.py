"""The version of Rowmill, as recorded in run databases."""

VERSION = "0.1.0"
