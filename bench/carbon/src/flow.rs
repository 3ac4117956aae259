//! The cheapest way to send as much as fits through a network: successive shortest paths.

/// An edge beside its residual twin, which stands at the next odd index.
struct Edge {
    to: usize,
    room: u32,
    cost: f64,
}

/// Nodes and edges with room and cost.
pub(crate) struct Network {
    edges: Vec<Edge>,
    of: Vec<Vec<usize>>,
}

impl Network {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { edges: Vec::new(), of: vec![Vec::new(); nodes] }
    }

    /// An edge; its number tells later how much went over it.
    pub(crate) fn edge(&mut self, from: usize, to: usize, room: u32, cost: f64) -> usize {
        let number = self.edges.len();
        self.edges.push(Edge { to, room, cost });
        self.edges.push(Edge { to: from, room: 0, cost: -cost });
        self.of[from].push(number);
        self.of[to].push(number + 1);
        number
    }

    /// How much went over an edge.
    #[cfg(test)]
    pub(crate) fn over(&self, edge: usize) -> u32 {
        self.edges[edge + 1].room
    }

    /// Sends as much as fits from one node to another, as cheaply as can be. Gives how much, and its cost.
    pub(crate) fn send(&mut self, from: usize, to: usize) -> (u32, f64) {
        let (mut sent, mut cost) = (0, 0.0);
        while let Some(path) = self.cheapest(from, to) {
            let room = path.iter().map(|edge| self.edges[*edge].room).min().unwrap_or_default();
            for edge in path {
                self.edges[edge].room -= room;
                self.edges[edge ^ 1].room += room;
                cost += f64::from(room) * self.edges[edge].cost;
            }
            sent += room;
        }
        (sent, cost)
    }

    /// The cheapest path with room, by Bellman and Ford with a queue, since residual edges have negative costs.
    fn cheapest(&self, from: usize, to: usize) -> Option<Vec<usize>> {
        let mut costs = vec![f64::INFINITY; self.of.len()];
        let mut by = vec![usize::MAX; self.of.len()];
        let mut queued = vec![false; self.of.len()];
        let mut queue = std::collections::VecDeque::from([from]);
        costs[from] = 0.0;
        while let Some(node) = queue.pop_front() {
            queued[node] = false;
            for number in &self.of[node] {
                let edge = &self.edges[*number];
                let cost = costs[node] + edge.cost;
                // Sums of the same costs in another order may differ in their last bits, which would go round for ever.
                if edge.room > 0 && cost < costs[edge.to] - 1e-9 {
                    costs[edge.to] = cost;
                    by[edge.to] = *number;
                    if !std::mem::replace(&mut queued[edge.to], true) {
                        queue.push_back(edge.to);
                    }
                }
            }
        }
        if costs[to].is_infinite() {
            return None;
        }
        let mut path = Vec::new();
        let mut node = to;
        while node != from {
            path.push(by[node]);
            node = self.edges[by[node] ^ 1].to;
        }
        Some(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_path_takes_back_what_an_earlier_one_took() {
        // Two jobs, two hours: the first path takes the hour that only the second job can use.
        let mut network = Network::new(6);
        let (source, sink) = (0, 5);
        for job in [1, 2] {
            network.edge(source, job, 1, 0.0);
        }
        let cheap = network.edge(1, 3, 1, 1.0);
        let dear = network.edge(1, 4, 1, 5.0);
        network.edge(2, 3, 1, 2.0);
        for hour in [3, 4] {
            network.edge(hour, sink, 1, 0.0);
        }
        assert_eq!(network.send(source, sink), (2, 7.0));
        assert_eq!((network.over(cheap), network.over(dear)), (0, 1));
    }
}
