"""Why a pod reaches a target, or why not: the "Debug Services" ladder, walked by machine, down to one cause.

https://kubernetes.io/docs/tasks/debug/debug-application/debug-service/. Reads the objects, the policies, the pods'
sockets and the kernel's drift along this one path; then a real connection is tried. Never reads the faults' record.
"""
