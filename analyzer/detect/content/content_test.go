package content_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/tapwatch/tapwatch/analyzer/detect"
	"github.com/tapwatch/tapwatch/analyzer/detect/content"
	"github.com/tapwatch/tapwatch/analyzer/detect/detecttest"
	"github.com/tapwatch/tapwatch/analyzer/model"
)

func TestMain(m *testing.M) { detecttest.Main(m) }

func all() []detect.Detector {
	c := content.DefaultConfig()
	c.TrafficClass.Model = classModel
	c.TLSRisk.InternalCA = []string{"O=Example Corp"}
	return content.All(detecttest.Own(), c)
}

// classModel is trained by TestClassModel.
const classModel = "testdata/traffic_class.json"

// The model of the scenarios is what training makes of these flows, to the octet.
func TestClassModel(t *testing.T) {
	var flows []model.Labelled
	for _, class := range []struct {
		name  string
		sizes []int32
		gap   uint32
	}{{"benign", []int32{517, -1400, -1400, 126, 300, -1400}, 20_000}, {"rat", []int32{120, -90, 60, -60, 60, -60}, 900_000}} {
		for host := range 12 {
			for i := range 4 {
				f := model.Flow{Host: fmt.Sprintf("10.0.0.%d", host), Protocol: 6}
				for k, s := range class.sizes {
					f.FirstSizes, f.FirstGaps = append(f.FirstSizes, s+int32(host+3*i+k)%7), append(f.FirstGaps, class.gap+uint32(997*(host+i)))
				}
				flows = append(flows, model.Labelled{Flow: f, Class: class.name, Host: f.Host, ID: fmt.Sprint(class.name, host, i)})
			}
		}
	}
	c := model.DefaultConfig()
	c.Label, c.Trees = "malicious", 9
	m, err := model.Train(flows, c)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "m")
	if flag.Lookup("update").Value.String() == "true" {
		path = classModel
	}
	if err := m.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want, err := os.ReadFile(classModel); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is another model (%v): run go test -run ClassModel -update .", classModel, err)
	}
}

func TestScenarios(t *testing.T) { detecttest.Scenarios(t, all()) }

func TestReadme(t *testing.T) {
	detecttest.Readme(t, content.All(detecttest.Own(), content.DefaultConfig()))
}
