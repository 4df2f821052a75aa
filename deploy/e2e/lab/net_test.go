package lab

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The lab: an attacker, servers, a resolver and users on the bridge of namespace
// sw. What comes in at any of their ports goes to the tap in this namespace.
const (
	attacker  = "10.77.0.66"
	webServer = "10.77.0.80"
	resolver  = "10.77.0.53"
	user      = "10.77.0.11"
	outside   = "198.51.100.77" // on the server's machine, reached without a router
	tap       = "twtap"
)

func members() map[string][]string {
	return map[string][]string{"atk": {attacker}, "srv": {webServer, "10.77.0.81", outside}, "dns": {resolver}, "usr": {user, "10.77.0.12"}}
}

// namespace is that of a member; each run has its own.
func namespace(member string) string { return fmt.Sprintf("tw%d-%s", os.Getpid(), member) }

func run(t *testing.T, line string) {
	t.Helper()
	if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", line, err, strings.TrimSpace(string(out)))
	}
}

// newNetwork makes the namespaces and removes them with the test.
func newNetwork(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	for _, tool := range []string{"ip", "tc", "ethtool", "nmap", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed (Debian: iproute2 ethtool nmap curl)", tool)
		}
	}
	all := []string{"sw"}
	for m := range members() {
		all = append(all, m)
	}
	t.Cleanup(func() {
		_ = exec.Command("ip", "link", "del", tap).Run()
		for _, m := range all {
			_ = exec.Command("ip", "netns", "del", namespace(m)).Run()
		}
	})
	for _, m := range all {
		run(t, "ip netns add "+namespace(m))
		run(t, "ip -n "+namespace(m)+" link set lo up")
		run(t, "ip netns exec "+namespace(m)+" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
	}
	sw := "ip -n " + namespace("sw") + " "
	run(t, sw+"link add br0 type bridge mcast_snooping 0")
	run(t, sw+"link set br0 up")
	run(t, "ip link add "+tap+" type veth peer name mirror netns "+namespace("sw"))
	run(t, "sysctl -qw net.ipv6.conf."+tap+".disable_ipv6=1; ip link set "+tap+" up; "+sw+"link set mirror up")
	number := 0
	for m, addresses := range members() {
		number++
		run(t, fmt.Sprintf("ip link add eth0 netns %s address 02:00:0a:4d:00:%02x type veth peer name %s netns %s", namespace(m), number, m, namespace("sw")))
		run(t, sw+"link set "+m+" master br0 up")
		in := "ip -n " + namespace(m) + " "
		run(t, in+"link set eth0 up")
		for _, a := range addresses {
			size := "/24"
			if a == outside {
				size = "/32"
			}
			run(t, in+"addr add "+a+size+" dev eth0")
		}
		run(t, in+"route add 198.51.100.0/24 dev eth0")
		run(t, "ip netns exec "+namespace(m)+" ethtool -K eth0 tx off tso off gso off gro off")
		// Each frame comes in at one port, so the mirror shows it once.
		tc := "ip netns exec " + namespace("sw") + " tc "
		run(t, tc+"qdisc add dev "+m+" clsact")
		run(t, tc+"filter add dev "+m+" ingress protocol all u32 match u32 0 0 action mirred egress mirror dev mirror")
	}
}
