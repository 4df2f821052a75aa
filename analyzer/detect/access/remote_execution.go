package access

import (
	_ "embed"
	"fmt"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed remote_execution.sql
var remoteExecutionSQL string

//go:embed remote_execution_windows.sql
var remoteExecutionWindowsSQL string

// RemoteExecutionConfig are the thresholds of remote_execution.
type RemoteExecutionConfig struct {
	MinLogins int `conf:"min_logins" help:"short RPC connections of like size to one port, and as many to the endpoint mapper, within 10 minutes"`
}

// newRemoteExecution looks for inside hosts that make others run something.
func newRemoteExecution(own detect.Own, c RemoteExecutionConfig) detect.Detector {
	return detect.New(detect.Spec[execution]{
		Info: detect.Info{
			Name: "remote_execution", Version: 1, Title: "A host makes another run something", Techniques: []string{"T1021.002", "T1569.002"},
			Length: 10 * time.Minute, Step: 5 * time.Minute,
			Doc: `Between two inside hosts: an executable is written to an administrative share (ADMIN$, C$), the service control manager is opened over SMB, the service of a known tool
(PsExec, PAExec, RemCom, winexe) is used; or RPC is logged in to again and again, as exploits of Netlogon do; or a request of several kilobytes goes to a port that the endpoint
mapper names, as when a service is made over RPC alone. High: executable and service control, or a known tool, or very many RPC logins. Medium: an executable alone, or many RPC
logins. Low: service control alone, or a large RPC request. The magnitude is the number of files, service connections and RPC logins.`,
			Controls: []string{
				"administration from networks with the role jump, scanner, monitor or backup, and sources in detect.exempt",
				"service control that was denied",
				"RPC whose answers are larger than its requests, as directories and monitors have it; single RPC logins",
				"other files on administrative shares, as backups write them",
			},
			Parameters: []detect.Parameter{{Name: "min_logins", Value: fmt.Sprint(c.MinLogins), Doc: "short RPC connections of like size; an exploit of Netlogon makes 256 on average, the one in our captures 19"}},
		},
		SQL: detect.Compose(remoteExecutionSQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Span(w).With("min_logins", detect.Number(c.MinLogins), "src", "", "dst", "", "site", "")
		},
		Judge: func(a *alert.Alert, r *execution) detect.Verdict {
			r.judge(a, c)
			a.EvidenceParams["src"], a.EvidenceParams["dst"], a.EvidenceParams["site"] = r.Src, r.Dst, r.Site
			return detect.Raise
		},
		Find: detect.Compose(remoteExecutionWindowsSQL),
	})
}

// execution is a row of the statement: a pair.
type execution struct {
	Site             string    `ch:"site"`
	Src              string    `ch:"src"`
	Dst              string    `ch:"dst"`
	Files            uint64    `ch:"files"`
	ServiceFlows     uint64    `ch:"service_flows"`
	ToolFlows        uint64    `ch:"tool_flows"`
	QuoteSample      []string  `ch:"quote_sample"`
	MapperFlows      uint64    `ch:"mapper_flows"`
	RPCLogins        uint64    `ch:"rpc_logins"`
	PushFlows        uint64    `ch:"push_flows"`
	PushBytes        uint64    `ch:"push_bytes"`
	First            time.Time `ch:"first"`
	Last             time.Time `ch:"last"`
	FlowIDs          []string  `ch:"flow_ids"`
	ServiceExecution float64   `ch:"service_execution"`
	LoginBurst       float64   `ch:"login_burst"`
	Push             float64   `ch:"push"`
}

// judge scores what a pair did.
func (r execution) judge(a *alert.Alert, c RemoteExecutionConfig) {
	a.Actor, a.Victim, a.Entities = r.Src, r.Dst, detect.Entities("actor", r.Src, "site", r.Site, "victim", r.Dst)
	a.Start, a.End, a.FlowIDs, a.Magnitude = r.First, r.Last, r.FlowIDs, float64(max(1, r.Files+r.ServiceFlows+r.ToolFlows))
	a.SubScores = map[string]float64{"service_execution": r.ServiceExecution, "login_burst": r.LoginBurst, "push": r.Push}
	a.Score = detect.Bounded(r.ServiceExecution + r.LoginBurst + r.Push)
	a.Confidence = 0.8
	switch {
	case r.ToolFlows > 0, r.Files > 0 && r.ServiceFlows > 0:
		a.Severity = alert.High
		a.Title = fmt.Sprintf("%s made %s run a program through a service", r.Src, r.Dst)
	case r.LoginBurst > 0:
		a.Title = fmt.Sprintf("%s logged in to RPC of %s %d times in a row", r.Src, r.Dst, r.RPCLogins)
		a.Severity, a.Techniques, a.Magnitude = alert.Medium, []string{"T1210"}, float64(r.RPCLogins)
		if r.RPCLogins >= 2*uint64(c.MinLogins) {
			a.Severity = alert.High
		}
	case r.Files > 0:
		a.Severity = alert.Medium
		a.Title = fmt.Sprintf("%s wrote a program to an administrative share of %s", r.Src, r.Dst)
	case r.ServiceFlows > 0:
		a.Severity, a.Confidence = alert.Low, 0.5
		a.Title = fmt.Sprintf("%s opened the service control of %s", r.Src, r.Dst)
	default:
		a.Severity, a.Confidence = alert.Low, 0.3
		a.Title = fmt.Sprintf("%s sent %s a large request over RPC", r.Src, r.Dst)
	}
	if r.ServiceExecution > 0 {
		a.Reasons = append(a.Reasons, "SMB: "+strings.Join(r.QuoteSample, ", "))
	}
	if r.LoginBurst > 0 {
		a.Reasons = append(a.Reasons, fmt.Sprintf("%d short RPC connections of like size to one port and %d to the endpoint mapper in 10 minutes, %d are enough", r.RPCLogins, r.MapperFlows, c.MinLogins))
	}
	if r.Push > 0 {
		a.Reasons = append(a.Reasons, fmt.Sprintf("after the endpoint mapper a request of up to %s to a port it names, at least three times what came back", detect.Size(float64(r.PushBytes))))
	}
	a.Unless = []string{
		"no executable on an administrative share, no service control, no known tool, and no burst of RPC",
		fmt.Sprintf("fewer than %d RPC logins", c.MinLogins),
		"source in detect.exempt, or in a network with the role jump, scanner, monitor or backup",
	}
}
