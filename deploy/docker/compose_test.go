package docker

import (
	"encoding/json"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
)

func TestComposition(t *testing.T) {
	p := composition(t)
	for _, name := range []string{"kafka", "clickhouse", "migrate", "collector", "analyzer", "probe-demo", "probe-live"} {
		if _, ok := p.Services[name]; !ok {
			t.Errorf("the service %s is missing", name)
		}
	}
	for name, s := range p.Services {
		t.Run(name, func(t *testing.T) { checkService(t, p, s) })
	}
	for name := range p.Volumes {
		used := slices.ContainsFunc(slices.Collect(mapValues(p.Services)), func(s types.ServiceConfig) bool {
			return slices.ContainsFunc(s.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Source == name })
		})
		if !used {
			t.Errorf("volume %s: no service has it", name)
		}
	}
}

func mapValues[K comparable, V any](m map[K]V) func(func(V) bool) {
	return func(yield func(V) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}

// checkService holds one service against the rules for all.
func checkService(t *testing.T, p *types.Project, s types.ServiceConfig) {
	once := s.Name == "migrate" // it ends, so nobody asks how it is
	if h := s.HealthCheck; once != (h == nil) {
		t.Errorf("health check %+v of a service that ends: %v", h, once)
	} else if !once && (h.Disable || len(h.Test) < 2 || h.Test[0] != "CMD" || h.Interval == nil || h.Timeout == nil || h.StartPeriod == nil) {
		t.Errorf("health check %+v: a command, interval, timeout and start period are needed", h)
	}
	if s.Deploy == nil || s.Deploy.Resources.Limits == nil {
		t.Error("no limits")
	} else if l := s.Deploy.Resources.Limits; l.NanoCPUs <= 0 || l.MemoryBytes <= 0 || l.Pids <= 0 {
		t.Errorf("limits %+v: cpus, memory and pids are needed", l)
	}
	if s.Restart == "" {
		t.Error("no restart policy")
	}
	if s.Logging == nil || s.Logging.Options["max-size"] == "" {
		t.Error("its log may grow without bound")
	}
	if !slices.Equal(s.CapDrop, []string{"ALL"}) || s.Privileged {
		t.Errorf("capabilities: dropped %v, privileged %v", s.CapDrop, s.Privileged)
	}
	if !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
		t.Errorf("security options %v", s.SecurityOpt)
	}
	if _, tag, _ := strings.Cut(s.Image, ":"); tag == "" || tag == "latest" {
		t.Errorf("image %q: a fixed tag is needed", s.Image)
	}
	for _, port := range s.Ports {
		if ip, err := netip.ParseAddr(port.HostIP); err != nil || !ip.IsLoopback() {
			t.Errorf("port %s is published on %q, which is not loopback", port.Published, port.HostIP)
		}
	}
	for _, v := range s.Volumes {
		switch v.Type {
		case types.VolumeTypeBind:
			if _, err := os.Stat(v.Source); err != nil || !v.ReadOnly {
				t.Errorf("mount %s: read only %v, %v", v.Source, v.ReadOnly, err)
			}
		case types.VolumeTypeVolume:
			if _, ok := p.Volumes[v.Source]; !ok {
				t.Errorf("volume %q is not declared", v.Source)
			}
		}
	}
	for other, d := range s.DependsOn {
		want := types.ServiceConditionHealthy
		if other == "migrate" {
			want = types.ServiceConditionCompletedSuccessfully
		}
		if d.Condition != want {
			t.Errorf("waits for %s until %s", other, d.Condition)
		}
	}
	for _, grant := range s.Secrets {
		if _, ok := p.Secrets[grant.Source]; !ok {
			t.Errorf("secret %s is not declared", grant.Source)
		}
	}
	target, own := ours(s)
	if !own {
		return
	}
	if !s.ReadOnly || s.User == "" {
		t.Errorf("read_only %v, user %q", s.ReadOnly, s.User)
	}
	// Root has none of root's capabilities; it is for the one that cannot be given to others.
	if s.User != "65532:65532" && (s.User != "0:0" || !slices.Equal(s.CapAdd, []string{"NET_RAW"})) || s.User != "0:0" && len(s.CapAdd) > 0 {
		t.Errorf("user %s has the capabilities %v", s.User, s.CapAdd)
	}
	var entry []string
	if err := json.Unmarshal([]byte(strings.Join(stageOf(t, target).all("ENTRYPOINT"), "")), &entry); err != nil {
		t.Fatalf("entry point of %s: %v", target, err)
	}
	if want := append([]string{"CMD"}, append(entry, "ready")...); !once && !slices.Equal(s.HealthCheck.Test, want) {
		t.Errorf("health check (-got +want)\n- %v\n+ %v", s.HealthCheck.Test, want)
	}
	if s.Build.Context != root(t) || s.Build.Dockerfile != "deploy/docker/Dockerfile" {
		t.Errorf("built from %s in %s", s.Build.Dockerfile, s.Build.Context)
	}
}

// What needs no profile runs with any: the rest of the chain.
func TestProfiles(t *testing.T) {
	want := map[string][]string{"probe-demo": {"demo"}, "probe-live": {"live"}}
	for name, s := range composition(t).Services {
		if !slices.Equal(s.Profiles, want[name]) {
			t.Errorf("%s (-got +want)\n- %v\n+ %v", name, s.Profiles, want[name])
		}
	}
}

// A probe on the host's network reaches Kafka where the composition publishes
// it, whatever port was chosen, and is told the same address by the broker.
func TestPublishedKafka(t *testing.T) {
	for _, port := range []string{"29092", "19092"} {
		p := composition(t, "TAPWATCH_KAFKA_PORT="+port)
		kafka, live := p.Services["kafka"], p.Services["probe-live"]
		addr := "127.0.0.1:" + port
		if got := *live.Environment["TAPWATCH_PROBE_KAFKA_BROKERS"]; got != addr || live.NetworkMode != "host" {
			t.Errorf("probe-live asks %s, network %s", got, live.NetworkMode)
		}
		if got := *kafka.Environment["KAFKA_ADVERTISED_LISTENERS"]; !strings.Contains(got, "HOST://"+addr) {
			t.Errorf("kafka tells %s", got)
		}
		if got := *kafka.Environment["KAFKA_LISTENERS"]; !strings.Contains(got, "HOST://:"+port) {
			t.Errorf("kafka listens on %s", got)
		}
		if len(kafka.Ports) != 1 || kafka.Ports[0].Published != port || kafka.Ports[0].HostIP != "127.0.0.1" {
			t.Errorf("published: %+v", kafka.Ports)
		}
	}
}
