package ops

import "github.com/prometheus/client_golang/prometheus"

// Part is the Ops of one of several equal parts of a service: its metrics have
// the label with the part's name, and so have its components. Log and all else
// are the service's.
func (o *Ops) Part(label, name string) *Ops {
	registry := prometheus.NewRegistry()
	prometheus.WrapRegistererWith(prometheus.Labels{label: name}, o.Registry).MustRegister(registry)
	return &Ops{Log: o.Log.With(label, name), Registry: registry, Mux: o.Mux, listen: o.listen, gauge: o.gauge, whole: o, part: label + " " + name}
}
