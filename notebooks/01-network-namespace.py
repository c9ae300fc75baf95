# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab 01: A pod is a network namespace
#
# **The one idea.** A pod's network is a namespace of the kernel with one end of a cable (a *veth* pair) in it. You build
# one by hand with `ip`, then let the cluster build one, and compare.

# %%
# %load_ext minik8s_net.notebook
from minik8s_net import notebook as nb

c = nb.up("course", nodes=2)
lab = nb.lab(1, c)
lab.start()
lab

# %% [markdown]
# ## 1. A fresh namespace
#
# Your workshop is `outside`: an empty host on the cluster's wire. `ip netns add` makes a network namespace there.
#
# **Predict**: which interfaces does a fresh network namespace have, and are they up or down? Answer in two words, such as
# `eth0 up`.

# %% tags=["exercise:predict-fresh"]
# %%predict fresh-namespace
…

# %%
# %%node outside
ip netns add fresh
ip -n fresh -br link
ip netns del fresh

# %%
# %reveal fresh-namespace "lo down"

# %% [markdown]
# **Why?** A namespace is a whole network stack of its own: interfaces, addresses, routes, rules, sockets. Nothing is
# inherited, so nothing is connected. Even `127.0.0.1` does not answer before `lo` is up.
#
# ## 2. Two of them, and a cable
#
# Make two network namespaces `hand-a` and `hand-b`, a bridge `hand0` in `outside`, and a veth pair for each. When you are
# done, `10.1.0.2` (in `hand-a`) and `10.1.0.3` (in `hand-b`) ping each other.
#
# What you need: `ip link add NAME type bridge`, `ip link add A type veth peer name eth0 netns NAMESPACE`,
# `ip link set A master BRIDGE`, `ip -n NAMESPACE addr add …`, `ip -n NAMESPACE link set … up`.

# %% tags=["exercise:by-hand"]
# %%node outside
ip netns add hand-a
# … and now you

# %%
# %%node outside
ip netns list
bridge link
ip netns exec hand-a ping -c 1 -W 1 10.1.0.3

# %% [markdown]
# The check looks at the kernel, not at what you typed. The first step that fails is explained; `lab.hint()` says more.

# %%
lab.check(settle=1)

# %% [markdown]
# ## 3. The cluster does the same
#
# Two pods, `left` on node-1 and `right` on node-2, of image `busybox:1.36`, with the command `sleep 100000`.
#
# **Predict**: how many different network namespaces do `left`, `right`, `node-1` and `node-2` have together?

# %% tags=["exercise:predict-count"]
# %%predict how-many-namespaces
…

# %% tags=["exercise:pods"]
# %%apply
apiVersion: v1
kind: Pod
metadata: {name: left}
spec:
  nodeName: node-1
  # … and now you: its container, and then the pod `right`

# %%
for pod in c.get("pods"):
    c.wait(f"pod/{pod.metadata.name}")
inodes = {name: str(c.exec(name, "readlink /proc/self/ns/net")).strip() for name in ("left", "right")}
inodes |= {name: str(c.shell(name, "readlink /proc/self/ns/net")).strip() for name in ("node-1", "node-2")}
inodes

# %%
# %reveal how-many-namespaces len(set(inodes.values()))

# %% [markdown]
# **Why?** The number in brackets is the namespace's inode: two processes with the same number share one network. A node
# here is a namespace too. On a real cluster the node's is the machine's own, which is all the difference.
#
# ## 4. Compare
#
# The same commands in your namespace and in the cluster's pod. What did the cluster do that you did not?

# %%
# %%node outside
# echo "hand-a:"
ip -n hand-a -br addr
ip -n hand-a route

# %%
# %%in pod/left
# echo "left:"
ip -br addr
ip route

# %% [markdown]
# `left` has one thing more: a **default route** to the bridge of its node. Your two namespaces reach only their own
# prefix; a pod reaches every other pod, because its node passes packets on. That is labs 03 and 05. Here is the way of
# one packet already:

# %%
nb.Replay(c.trace("left", c.get("pod", "right").status.podIP + ":80", seconds=1))

# %%
nb.Live(c)

# %% [markdown]
# ## 5. The check

# %%
lab.check()

# %% [markdown]
# All six ✓? Then clean up; the cluster stays for the next lab.

# %%
lab.reset()
