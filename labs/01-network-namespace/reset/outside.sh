for name in a b; do ip netns del hand-$name 2>/dev/null || true; done
ip link del hand0 2>/dev/null || true
for name in a b; do ip link del to-$name 2>/dev/null || true; done
