package novelty

import (
	_ "embed"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed cryptomining.sql
var cryptominingSQL string

//go:embed cryptomining_windows.sql
var cryptominingWindowsSQL string

// newCryptomining looks for: crypto-currencies.
func newCryptomining(own detect.Own) detect.Detector {
	info := detect.Info{
		Name: "cryptomining", Version: 1, Title: "Crypto-currencies", Techniques: []string{"T1496"},
		Doc: `An inside host talks to pools or peers of a crypto-currency: by protocol, by names of pools in TLS, HTTP or DNS, or by ports of Stratum and Monero with at least 3 addresses, or with one for
half an hour. High by protocol or name, medium by ports alone. The magnitude is the number of connections.`,
		Controls: []string{
			"ports with a known protocol, or with a TLS name of another kind",
			"attempts without an answer",
			"networks of the roles resolver, proxy and scanner, which ask for others",
		},
	}
	return plain(own, info, cryptominingSQL, cryptominingWindowsSQL, detect.Params{"names": poolNames, "ports": poolPorts}, detect.Params{"names": poolNames, "ports": poolPorts}, func(a *alert.Alert, c *finding) detect.Verdict {
		severity, confidence := alert.High, 0.8
		if c.Learning {
			severity, confidence = alert.Medium, 0.5
		}
		a.Reasons = c.Details
		a.Unless = []string{"another protocol on these ports", "fewer than 3 such addresses, or less than half an hour with one", "no answers"}
		return c.raise(a, severity, confidence, c.Actor+" talks to pools or peers of a crypto-currency", "actor", c.Actor)
	})
}

const (
	// poolNames are those that pools use of themselves.
	poolNames = `(?i)(^|[.-])(xmr|monero|stratum|nanopool|supportxmr|minexmr|hashvault|moneroocean|nicehash|f2pool|ethermine|2miners|unmineable|herominers|viabtc|antpool|slushpool|braiins|poolin|flexpool|c3pool|xmrpool|minergate|coinhive|kryptex)[0-9]*([.-]|$)`
	// poolPorts are those of Monero (p2p 18080, restricted RPC 18081 to 18089), and those that pools of Stratum publish.
	poolPorts = "[3333,4444,5555,7777,8333,9999,10128,14433,14444,18080,18081,18083,18084,18085,18088,18089,30303,45560,45700]"
)
