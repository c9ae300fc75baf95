"""How a cluster comes to life and ends: supervisor, controller process, first objects, ownership record, doctor.

In Kubernetes: kubeadm and systemd.
"""
