"""The page: a run in a browser, living or finished, over the doors for reading and steering that there are."""
