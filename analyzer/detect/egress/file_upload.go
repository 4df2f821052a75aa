package egress

import (
	_ "embed"
	"fmt"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/alert"
	"github.com/tapwatch/tapwatch/analyzer/detect"
)

//go:embed file_upload.sql
var fileUploadSQL string

//go:embed file_upload_windows.sql
var fileUploadWindowsSQL string

// FileUploadConfig are the thresholds of file_upload.
type FileUploadConfig struct {
	HistoryDays int `conf:"history_days" help:"a server that no inside host had an answer of for so many days is new"`
	GraceDays   int `conf:"grace_days" help:"days of history that a site needs before new means something"`
}

// newFileUpload looks for files and mails that are given to servers never seen
// before, however small.
func newFileUpload(own detect.Own, c FileUploadConfig) detect.Detector {
	return detect.New(detect.Spec[fileUpload]{
		Info: detect.Info{
			Name: "file_upload", Version: 1, Title: "A file is given to an unknown outside server", Techniques: []string{"T1048.003"},
			Length: time.Hour, Step: time.Hour, Rollups: []string{"flows_1h", "hosts_1h"},
			Doc: `An inside host stores a file on an outside FTP server, or gives mail to an outside mail server, that no inside host had an answer of before. Volume does not matter:
stealers send a few kilobytes. Files that are named as loot is (its kind in two letters, passwords, cookies, keylog, screenshot, or the minute of taking) make it high, else it is
medium; within the first days of a site, when everything is new, medium and low. The magnitude is the octets given.`,
			Controls: []string{
				"servers that some inside host had an answer of in the history",
				"hosts that send mail to several servers: they are mail servers",
				"networks of the roles mail, gateway, proxy, nat and backup",
				"downloads, and logins that give nothing",
			},
			Parameters: []detect.Parameter{
				{Name: "history_days", Value: fmt.Sprint(c.HistoryDays), Doc: "days of the past in which the server was not seen; as new services of D16"},
				{Name: "grace_days", Value: fmt.Sprint(c.GraceDays), Doc: "days a site is being learnt"},
			},
		},
		SQL: detect.Compose(fileUploadSQL),
		Params: func(w detect.Window) detect.Params {
			return own.Params().Unix(w).With("history_days", detect.Number(c.HistoryDays), "grace_days", detect.Number(c.GraceDays), "src", "", "dst", "", "site", "")
		},
		Judge: func(a *alert.Alert, r *fileUpload) detect.Verdict {
			r.judge(a)
			a.EvidenceParams["src"], a.EvidenceParams["dst"], a.EvidenceParams["site"] = r.Src, r.Dst, r.Site
			return detect.Raise
		},
		Find:       detect.Compose(fileUploadWindowsSQL),
		FindParams: own.Params(),
	})
}

// fileUpload is a row of the statement.
type fileUpload struct {
	Site     string    `ch:"site"`
	Src      string    `ch:"src"`
	Dst      string    `ch:"dst"`
	Carrier  string    `ch:"carrier"`
	User     string    `ch:"user"`
	What     []string  `ch:"what"`
	Pieces   uint64    `ch:"pieces"`
	Bytes    uint64    `ch:"bytes"`
	First    time.Time `ch:"first"`
	Last     time.Time `ch:"last"`
	FlowIDs  []string  `ch:"flow_ids"`
	Learning bool      `ch:"learning"`
	Loot     uint64    `ch:"loot"`
	Content  float64   `ch:"content"`
	Novelty  float64   `ch:"novelty"`
}

// judge scores an upload.
func (c fileUpload) judge(a *alert.Alert) {
	noun := "files"
	if c.Carrier == "smtp" {
		noun = "mails"
	}
	a.Title = fmt.Sprintf("%s gave %d %s to %s, an unknown %s server", c.Src, c.Pieces, noun, c.Dst, c.Carrier)
	a.Actor, a.Victim, a.Entities = c.Src, c.Dst, detect.Entities("actor", c.Src, "victim", c.Dst, "site", c.Site)
	a.Start, a.End, a.FlowIDs, a.Magnitude = c.First, c.Last, c.FlowIDs, max(1, float64(c.Bytes))
	a.SubScores = map[string]float64{"content": c.Content, "novelty": c.Novelty}
	a.Score = detect.Bounded(0.6*c.Content + 0.4*c.Novelty)
	a.Reasons = []string{fmt.Sprintf("%d %s, %s, to a server that no inside host had an answer of before", c.Pieces, noun, detect.Size(float64(c.Bytes)))}
	if c.User != "" {
		a.Reasons = append(a.Reasons, "logged in as "+c.User)
	}
	if len(c.What) > 0 {
		a.Reasons = append(a.Reasons, strings.Join(c.What, ", "))
	}
	a.Severity, a.Confidence = alert.Medium, 0.5
	if c.Loot > 0 {
		a.Severity, a.Confidence, a.Techniques = alert.High, 0.8, []string{"T1048.003", "T1020"}
		a.Reasons = append(a.Reasons, fmt.Sprintf("%d of the names are those of loot", c.Loot))
	}
	if c.Learning {
		a.Severity, a.Confidence = lower(a.Severity), a.Confidence*0.7
		a.Reasons = append(a.Reasons, "the site is being learnt: everything is new")
	}
	a.Unless = []string{"an inside host had had an answer of the server before", "the role mail, gateway, proxy, nat or backup for the host's network", "nothing stored or sent, only read"}
}

// lower is the severity below medium or high.
func lower(s alert.Severity) alert.Severity {
	if s == alert.High {
		return alert.Medium
	}
	return alert.Low
}
