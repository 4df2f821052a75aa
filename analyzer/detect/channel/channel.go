// Package channel has the detectors of hidden ways out and in: calls home, tunnels,
// connections that never end.
package channel

import (
	"errors"

	"github.com/tapwatch/tapwatch/analyzer/detect"
)

// Config are the thresholds of the detectors here.
type Config struct {
	Beacon BeaconConfig `conf:"beacon"`
}

// DefaultConfig returns the published thresholds, whose sources the detectors name.
func DefaultConfig() Config {
	return Config{
		Beacon: BeaconConfig{MinScore: 0.3, MinGap: 10, MaxGap: 14400, MinConnections: 12, MinConcentration: 0.6, MaxSizeSpread: 0.25, KnownNames: knownNames()},
	}
}

// knownNames are the domains of system updates, telemetry, certificate status and
// push services, of the makers of common systems and programs.
func knownNames() []string {
	return []string{
		"microsoft.com", "windowsupdate.com", "windows.com", "windows.net", "office.com", "office365.com", "live.com", "msftconnecttest.com", "msftncsi.com", "msedge.net", "skype.com", "azureedge.net",
		"apple.com", "icloud.com", "mzstatic.com", "aaplimg.com", "google.com", "googleapis.com", "gstatic.com", "gvt1.com", "android.com", "pki.goog",
		"mozilla.com", "mozilla.net", "mozilla.org", "firefox.com", "ubuntu.com", "canonical.com", "snapcraft.io", "debian.org", "fedoraproject.org", "redhat.com", "centos.org", "opensuse.org", "archlinux.org",
		"digicert.com", "lencr.org", "letsencrypt.org", "sectigo.com", "globalsign.com", "verisign.com", "entrust.net", "adobe.com", "adobe.io", "dropbox.com", "whatsapp.net", "slack.com", "zoom.us", "spotify.com",
		"cloudsink.net", "symantec.com", "mcafee.com", "kaspersky.com", "eset.com", "avast.com", "avg.com", "sophos.com", "trendmicro.com", "bitdefender.net", "malwarebytes.com",
		"hp.com", "dell.com", "lenovo.com", "nvidia.com", "intel.com", "vmware.com", "cisco.com", "amazonalexa.com", "digitalocean.com", "datadoghq.com", "newrelic.com", "sentry.io", "nr-data.net",
	}
}

// Check says what is wrong with c.
func (c Config) Check() error {
	return errors.Join(
		detect.CheckShares(map[string]float64{"beacon.min_score": c.Beacon.MinScore, "beacon.min_concentration": c.Beacon.MinConcentration, "beacon.max_size_spread": c.Beacon.MaxSizeSpread}),
		detect.CheckPositive(map[string]float64{"beacon.min_gap": c.Beacon.MinGap, "beacon.max_gap": c.Beacon.MaxGap}),
		detect.CheckCounts(7, map[string]int{"beacon.min_connections": c.Beacon.MinConnections}),
	)
}

// All returns the detectors, the quick ones first.
func All(own detect.Own, c Config) []detect.Detector {
	return []detect.Detector{newBeacon(own, c.Beacon)}
}
