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
# # A tour: a Kubernetes network you can see all of
#
# Ten minutes. Run the cells from top to bottom (Shift+Enter). Nothing you do here touches the machine's own network, and
# nothing needs root: the whole cluster lives in namespaces of its own and is gone when you say so.

# %%
# %load_ext minik8s_net.notebook
from minik8s_net import notebook as nb

c = nb.up("tour", nodes=2)

# %% [markdown]
# That was a real cluster: an API server, two nodes, a DNS server. It draws itself:

# %%
c

# %% [markdown]
# ## Three pods and a Service
#
# `%%apply` takes the same YAML as kubectl. Write something wrong into it and run it again: the error points at the line.

# %%
# %%apply
apiVersion: v1
kind: Pod
metadata: {name: web-1, labels: {app: my-app}}
spec:
  nodeName: node-1
  terminationGracePeriodSeconds: 0
  containers:
    - {name: server, image: "registry.k8s.io/e2e-test-images/agnhost:2.53", args: [netexec, --http-port=8080]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-2, labels: {app: my-app}}
spec:
  nodeName: node-2
  terminationGracePeriodSeconds: 0
  containers:
    - {name: server, image: "registry.k8s.io/e2e-test-images/agnhost:2.53", args: [netexec, --http-port=8080]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app: allowed-app}}
spec:
  nodeName: node-1
  terminationGracePeriodSeconds: 0
  containers:
    - {name: tools, image: "busybox:1.36", command: [sleep, "100000"]}
---
apiVersion: v1
kind: Service
metadata: {name: my-service}
spec:
  clusterIP: 10.96.0.1
  selector: {app: my-app}
  ports:
    - {port: 80, targetPort: 8080}

# %% [markdown]
# ## The live picture
#
# It follows the cluster: pods appear, turn ready (●), and vanish. Click on a pod, a node or a Service, or go there with
# Tab and press Enter: addresses, routes, rules, logs, as the kernel says them.

# %%
live = nb.Live(c)
live

# %%
for name in ("web-1", "web-2", "client"):
    c.wait(f"pod/{name}")
c.get("pods")

# %% [markdown]
# Scroll up again while the next cell runs: `guest` comes and goes in the picture.

# %%
import time

c.apply("""
apiVersion: v1
kind: Pod
metadata: {name: guest}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - {name: tools, image: "busybox:1.36", command: [sleep, "100000"]}
""")
c.wait("pod/guest")
time.sleep(1)
c.delete("pod", "guest")

# %% [markdown]
# ## Predict, then look
#
# Twenty connections to `my-service`. Which share does `web-1` answer? Commit to a number **before** you run what follows;
# it is kept.

# %%
# %%predict share-of-web-1
1/2

# %%
answers = c.exec("client", ["sh", "-c", "for i in $(seq 20); do curl -s http://my-service/hostname; echo; done"]).stdout.split()
answers

# %%
# %reveal share-of-web-1 f"{answers.count('web-1')}/{len(answers)}"

# %% [markdown]
# ## The way of one packet
#
# Not a simulation: this is what the kernel reported about one real packet. Play it, or step through it; each rule shows
# its text, and the object it was written for.

# %%
trace = c.trace("client", "http://my-service")
nb.Replay(trace)

# %% [markdown]
# The address 10.96.0.1 is on no interface. It exists only in rules that the kernel of each node applies:

# %%
# %%node node-1
iptables -t nat -S KUBE-SERVICES | grep my-service

# %% [markdown]
# And the name? The pod's resolver walks a search path. Look up `my-service`, then `my-service.default`, then a name that
# does not exist, and count the questions.

# %%
names = nb.Names(c, "client", "my-service")
names

# %%
# %%in pod/client
# cat /etc/resolv.conf

# %% [markdown]
# ## Who may talk to whom
#
# A stranger joins, and a NetworkPolicy lets only `app: allowed-app` come in to `app: my-app`.

# %%
# %%apply
apiVersion: v1
kind: Pod
metadata: {name: stranger, labels: {app: other-app}}
spec:
  nodeName: node-2
  terminationGracePeriodSeconds: 0
  containers:
    - {name: tools, image: "busybox:1.36", command: [sleep, "100000"]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow-app-pods}
spec:
  podSelector: {matchLabels: {app: my-app}}
  policyTypes: [Ingress]
  ingress:
    - from:
        - podSelector: {matchLabels: {app: allowed-app}}

# %%
c.wait("pod/stranger")
nb.Matrix(c, port=8080)

# %% [markdown]
# In the playground a switch *predicts*; "apply and measure" makes it so, and lays what was measured over it. Click a cell
# to read which policy decided.

# %%
nb.Policies(c, port=8080)

# %% [markdown]
# ## Break it on purpose
#
# Each switch breaks one thing, as a bad day would. Break `DNS is dead`, look up a name above, and mend it.

# %%
nb.Faults(c)

# %% [markdown]
# ## Your own commands
#
# A box for pods, nodes, the fabric and the host outside; and `kubectl`, the real one where it is installed.

# %%
nb.Terminal(c, "pod/client")

# %%
# %kubectl get services,endpointslices

# %% [markdown]
# ## A self-check
#
# Labs end with one: it looks at the cluster and at the kernel, never at what you typed. Lab 06 starts broken …

# %%
shop = nb.lab(6, c)
shop.start()
shop.check(settle=1)

# %% [markdown]
# … and here is the solution (in the lab you would find it yourself):

# %%
shop.solve()
shop.check()
assert shop.passed

# %% [markdown]
# ## Gone, without a trace

# %%
live.close()
c.down()
