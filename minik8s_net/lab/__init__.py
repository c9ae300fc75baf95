"""The course's machinery: runs labs and their checks, which look at cluster and kernel state, never at text typed."""
