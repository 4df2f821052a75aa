package detect

import (
	"errors"
	"fmt"
	"net/netip"
)

// Config is what the detectors share, and the thresholds of each.
type Config struct {
	Inside             []netip.Prefix           `conf:"inside" help:"own networks; default: private, unique local and link-local addresses"`
	Exempt             []netip.Prefix           `conf:"exempt" help:"sources that scan on purpose (scanners, monitors): never reported as scans"`
	PortscanVertical   PortscanVerticalConfig   `conf:"portscan_vertical"`
	PortscanHorizontal PortscanHorizontalConfig `conf:"portscan_horizontal"`
	SynFlood           SynFloodConfig           `conf:"syn_flood"`
	Beacon             BeaconConfig             `conf:"beacon"`
	VolumeAnomaly      VolumeAnomalyConfig      `conf:"volume_anomaly"`
	Exfiltration       ExfiltrationConfig       `conf:"exfiltration"`
}

// DefaultConfig returns the published thresholds; see the Doc of each detector.
func DefaultConfig() Config {
	return Config{
		Inside: []netip.Prefix{
			netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
			netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("fe80::/10"),
		},
		PortscanVertical:   PortscanVerticalConfig{MinPorts: 10, MinShare: 0.5},
		PortscanHorizontal: PortscanHorizontalConfig{MinHosts: 15, MinHostsOutside: 25, MinShare: 0.5},
		SynFlood:           SynFloodConfig{MinRate: 200, MinRateSingle: 10, MaxCompletion: 0.2},
		Beacon:             BeaconConfig{MinScore: 0.5, MinGap: 10, MinConnections: 12, MinConcentration: 0.6},
		VolumeAnomaly:      VolumeAnomalyConfig{MinBytes: 10_000_000, MinZ: 6, HistoryDays: 28},
		Exfiltration:       ExfiltrationConfig{MinBytes: 50_000_000, MinBytesAny: 500_000_000, MinRatio: 3, MinZ: 4, HistoryDays: 28},
	}
}

// Check says what is wrong with cfg.
func (cfg Config) Check() error {
	if len(cfg.Inside) == 0 {
		return errors.New("detect.inside: at least one network is needed")
	}
	for _, c := range []struct {
		name  string
		value int
	}{
		{"portscan_vertical.min_ports", cfg.PortscanVertical.MinPorts},
		{"portscan_horizontal.min_hosts", cfg.PortscanHorizontal.MinHosts},
		{"portscan_horizontal.min_hosts_outside", cfg.PortscanHorizontal.MinHostsOutside},
	} {
		if c.value < 2 {
			return fmt.Errorf("detect.%s: %d is less than 2", c.name, c.value)
		}
	}
	for _, c := range []struct {
		name  string
		value float64
	}{
		{"portscan_vertical.min_share", cfg.PortscanVertical.MinShare},
		{"portscan_horizontal.min_share", cfg.PortscanHorizontal.MinShare},
		{"syn_flood.max_completion", cfg.SynFlood.MaxCompletion},
		{"beacon.min_score", cfg.Beacon.MinScore},
		{"beacon.min_concentration", cfg.Beacon.MinConcentration},
	} {
		if !(c.value >= 0 && c.value <= 1) {
			return fmt.Errorf("detect.%s: %v is not within 0 to 1", c.name, c.value)
		}
	}
	return nil
}

// inside are the parameters of statements that ask who is inside.
func (cfg Config) inside() params { return params{}.networks("inside", cfg.Inside) }

// shared are those of statements that ask who is exempt as well.
func (cfg Config) shared() params { return cfg.inside().networks("exempt", cfg.Exempt) }
