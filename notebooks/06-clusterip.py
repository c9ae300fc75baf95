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
# # Lab 06: ClusterIP
#
# **The one idea.** A Service has an address that no interface has. Rules in the kernel translate it, connection by
# connection, into the address of one of its pods.

# %%
# %load_ext minik8s_net.notebook
from minik8s_net import notebook as nb

c = nb.up("course", nodes=2)
lab = nb.lab(6, c)
lab.start()
lab

# %% [markdown]
# ## 1. It does not work
#
# Three pods of `app=shop` listen on port 8080, and the Service `shop` stands in front of them. Watch the picture: which
# lines lead from the Service to its pods?

# %%
nb.Live(c)

# %% [markdown]
# **Predict**: the customer asks `http://shop`. Will the connection be `refused`, will it time out (`timeout`), or will the
# name not be found (`unknown`)? One word.

# %% tags=["exercise:predict-broken"]
# %%predict broken-service
…

# %%
said = c.exec("customer", "curl -sS -m 2 http://shop/hostname")
said

# %%
# %reveal broken-service {6: "unknown", 7: "refused", 28: "timeout"}[said.exit_code]

# %% [markdown]
# **Why?** The name is found: a Service has its name and address from the start. But nobody is behind it, and kube-proxy
# writes a rule that *rejects*, so that the caller learns it at once instead of waiting.

# %%
nb.Replay(c.trace("customer", "http://shop"))

# %% [markdown]
# ## 2. Find out why, and repair it
#
# A Service finds its pods by labels. Compare:

# %%
# %kubectl get pods --show-labels

# %%
# %kubectl get service shop -o wide

# %% [markdown]
# Repair the Service, so that `http://shop` reaches all three pods on the port where they listen.

# %% tags=["exercise:repair"]
# %%apply
apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  selector: {app: shopp}   # … and now you
  ports:
    - {port: 80, targetPort: 8080}

# %%
lab.check(settle=2)

# %% [markdown]
# ## 3. Read the rules
#
# A chain per Service (`KUBE-SVC-…`) chooses; a chain per endpoint (`KUBE-SEP-…`) translates. Find the three choices:

# %%
# %%node node-1
chain=$(iptables -t nat -S KUBE-SERVICES | grep '"default/shop cluster IP"' | grep -o 'KUBE-SVC-[A-Z0-9]*' | head -1)
iptables -t nat -S $chain

# %% [markdown]
# The first rule is tried with probability 0.333, the second with 0.5 *of what is left*, the last always.
#
# **Predict**: which share of the connections does each pod get? A fraction.

# %% tags=["exercise:predict-share"]
# %%predict share
…

# %%
from collections import Counter

loop = "for i in $(seq 90); do curl -s -m 2 http://shop/hostname; echo; done"
counted = Counter(c.exec("customer", ["sh", "-c", loop]).stdout.split())
counted

# %% [markdown]
# Chance is chance: of 90 connections each pod gets 30, give or take 4 or 5 (one sigma). The *rule* gives:

# %%
# %reveal share "1/3"

# %% [markdown]
# **Why?** 1/3, then 2/3 × 1/2 = 1/3, then 2/3 × 1/2 × 1 = 1/3. It is decided once per *connection*: only the first
# packet of one visits the `nat` table, and conntrack remembers what was chosen for all that follow.

# %%
nb.Replay(c.trace("customer", "http://shop"))

# %% [markdown]
# ## 4. Pods come and go, the address stays
#
# **Predict**: all three pods are replaced by new ones, with new addresses. Does the Service's own address `stay` or
# `change`?

# %% tags=["exercise:predict-vip"]
# %%predict virtual-address
…

# %%
before = c.get("service", "shop").spec.clusterIP
for name in ("shop-1", "shop-2", "shop-3"):
    c.delete("pod", name)
lab.start()

# %% [markdown]
# `lab.start()` has brought the pods back, and with them the broken Service. Repair it once more: the rules follow within
# milliseconds.

# %% tags=["exercise:repair"]
# %%apply
apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  selector: {app: shopp}   # … as above
  ports:
    - {port: 80, targetPort: 8080}

# %%
after = c.get("service", "shop").spec.clusterIP
# %reveal virtual-address "stay" if before == after else "change"

# %% [markdown]
# **Why?** The address belongs to the Service object, not to any pod. What changes are the endpoints, and with them the
# last two links of the chain.
#
# ## 5. The check

# %%
lab.check()

# %% [markdown]
# All ✓? Then clean up; the cluster stays for the next lab.

# %%
lab.reset()
