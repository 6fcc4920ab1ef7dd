//! No file of a source root uses, through any number of others, a file that uses it.

use super::graph::Graph;
use super::sources::{ROOTS, read, repository};

#[test]
fn no_circle_of_files() {
    let graphs: Vec<_> = ROOTS.iter().map(|root| (root, Graph::of(&read(&repository().join(root))))).collect();
    let total = |count: fn(&Graph) -> usize| graphs.iter().map(|(_, graph)| count(graph)).sum::<usize>();
    let (files, edges) = (total(|graph| graph.files.len()), total(|graph| graph.ties().count()));
    let circles = total(|graph| graph.circles().len());
    println!("\nfloors: files={files} edges={edges} circles={circles}");
    for (root, graph) in &graphs {
        println!("{}", graph.report());
        assert!(graph.unresolved.is_empty(), "paths of {root} that lead nowhere: {:#?}", graph.unresolved);
        assert!(graph.hidden.is_empty(), "code of {root} that hides what it uses: {:#?}", graph.hidden);
        assert!(graph.files.len() > 30 && graph.ties().count() > 60, "only a few files of {root} were read");
    }
    let reports: Vec<_> = graphs.iter().map(|(root, graph)| format!("{root}\n{}", graph.report())).collect();
    assert_eq!(circles, 0, "{}", reports.concat());
}
