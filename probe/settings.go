package probe

import (
	"sync/atomic"

	"github.com/tapwatch/tapwatch/probe/dpi"
	"github.com/tapwatch/tapwatch/probe/meter"
)

// limits are the settings that workers can take anew without losing a flow.
type limits struct {
	filter                     string
	sampleFlows, samplePackets uint32
	meter                      meter.Limits
	services                   *dpi.Services
}

func (cfg Config) limits() limits {
	m := cfg.Meter
	return limits{filter: cfg.Capture.Filter, services: cfg.services, sampleFlows: cfg.Capture.SampleFlows, samplePackets: cfg.Capture.SamplePackets,
		meter: meter.Limits{ActiveTimeout: m.ActiveTimeout, IdleTimeout: m.IdleTimeout, UnansweredTimeout: m.UnansweredTimeout, MaxFlows: m.MaxFlows,
			MaxBytes: int(m.MaxBytes)}}
}

// settings are shared by all workers, each of which looks at them about once a
// second.
type settings struct{ current atomic.Pointer[limits] }

func newSettings(l limits) *settings {
	s := new(settings)
	s.set(l)
	return s
}

func (s *settings) set(l limits) { s.current.Store(&l) }

// now is the same pointer until the next set.
func (s *settings) now() *limits { return s.current.Load() }
