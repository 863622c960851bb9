"""Workers elsewhere: processes of this machine, or of a cluster, that make calls; the truth stays with the driver."""
