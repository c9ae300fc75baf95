ip link add hand0 type bridge
ip link set hand0 up
for one in a:10.1.0.2 b:10.1.0.3; do
  name=${one%%:*} address=${one#*:}
  ip netns add hand-$name
  ip link add to-$name type veth peer name eth0 netns hand-$name
  [ $name = b ] || ip link set to-$name master hand0
  ip link set to-$name up
  ip -n hand-$name addr add $address/24 dev eth0
  ip -n hand-$name link set eth0 up
  ip -n hand-$name link set lo up
done
